"""What emsd costs, as ratios to the bare libraries in the same run; `python -m bench`, docs/performance.md.

One module a benchmark, each with `async def run(world: World) -> Report`:

    ingest      rows/s into the database, against asyncpg's COPY of the same rows
    collector   polls/s of Modbus meters, against pymodbus reading the same registers
    decode      time to turn answers into values, against pymodbus' own conversion
    api         latency of rolling energy, against the SQL of the same sums
    storage     bytes a value on disk, against a table with one row a value
    fleet       the whole service with 1,000 meters every second
"""
