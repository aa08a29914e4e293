"""Everything that speaks SQL: the pool, the migrations, and one module for each group of tables."""
