"""Genetic programming on Python source: mutations and crossover that know syntax and scopes, and nothing of any game."""
