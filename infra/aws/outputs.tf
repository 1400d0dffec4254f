# `terraform output -json > aws.json`: what `stac-sm submit PLAN --to aws-batch --infra aws.json` reads.

output "region" {
  description = "AWS region."
  value       = var.region
}

output "job_queue" {
  description = "Where array jobs are sent."
  value       = aws_batch_job_queue.this.name
}

output "job_definition" {
  description = "What they run, with its revision."
  value       = "${aws_batch_job_definition.this.name}:${aws_batch_job_definition.this.revision}"
}

output "inputs" {
  description = "Root of the inputs' catalogue."
  value       = "s3://${aws_s3_bucket.this["inputs"].id}/${var.inputs_prefix}"
}

output "products" {
  description = "Root of the project: below it workers may create."
  value       = "s3://${aws_s3_bucket.this["products"].id}/${var.products_prefix}"
}

output "log_group" {
  description = "What the slices say."
  value       = aws_cloudwatch_log_group.this.name
}

output "repository" {
  description = "Where the image is pushed."
  value       = aws_ecr_repository.this.repository_url
}

output "operator_role" {
  description = "The role to submit, repair and remove with."
  value       = aws_iam_role.operator.arn
}

output "worker_role" {
  description = "The role of a slice."
  value       = aws_iam_role.worker.arn
}
