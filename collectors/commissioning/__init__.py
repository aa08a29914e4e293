"""Getting to know devices before they are meters: what answers where, and how its registers are to be understood."""
