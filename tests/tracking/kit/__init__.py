"""Tests of the step kit."""
