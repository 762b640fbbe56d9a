"""Files and what they are made of: a store, contracts, Parquet tables with their manifests, tars."""
