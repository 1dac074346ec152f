"""Tournaments: who is stronger, in which games, and how sure that is.

A *table* is a game with its options. An *entrant* is a seat with a name. A *group* is a handful of games at one table
that share a chance seed, one for each way to turn the seats round, so that luck and the advantage of a seat cancel;
groups, not games, are independent, and every interval here is over groups.

`config` says what a tournament is, `schedule` which groups come next, `play` plays them, `store` keeps every game in
one SQLite file, `ratings` turns games into numbers with intervals, `standings` sets them beside what would make one
doubt them.
"""
