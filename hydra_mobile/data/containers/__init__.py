"""Containers of records: files, folders of shards, and data sets of the hub; one file each."""
