"""Bundles as models of other evaluation programs. Nothing here is imported by ours."""
