"""Genetic programming on Python source: mutation and crossover that know syntax and scopes, and nothing of games."""
