"""Reading by http and https: documents (`documents`) and byte ranges of files (`client`)."""
