"""Why a figure is what it is: what it is put together from, by which rules, out of what.

form, schemas          the one form in which every figure is explained
scopes, energy         energy of meters, areas and the site
meter, direction, counters, virtual, tiers
                       one meter: from the figure back to its readings or its inputs, and the interval tables beside
carbon, ledger, scope1, scope2
                       factors, and the lines of the ledger and of statements
cost, bill, demand, kpi, footprint, balance
                       the other figures, each by what its own room computes
"""
