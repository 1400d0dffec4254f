"""S3 and what speaks like it: conditional writes, a probe of what a store keeps, and one home for boto3."""
