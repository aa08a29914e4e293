"""The plant's physics: from the weather and the shifts to the power of every machine.

weather, moist_air     what it is like outside
production             lots, shifts and maintenance, and what tools draw
cleanroom, buildings   fans, make-up air, light; everything that nobody looks at closely
chilled_water          chillers, their towers and pumps, and the heat that they take away
compressed_air         compressors that share a demand, and leaks
photovoltaics          modules and inverters under the same sky
scenarios              what changes or goes wrong, and since when

Everything is a function of time on the knots of a day (day.py), so that any day can be computed without the others.
"""
