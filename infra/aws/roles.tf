# Who may do what. A worker reads inputs, reads and creates products, and nothing else: it cannot remove, cannot write
# over what is there without having read it, and cannot list anything beside its two prefixes. Removing is an
# operator's. tests/integration/test_aws.py evaluates each of these policies.

locals {
  inputs_objects   = "${aws_s3_bucket.this["inputs"].arn}/${var.inputs_prefix}/*"
  products_objects = "${aws_s3_bucket.this["products"].arn}/${var.products_prefix}/*"
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "ReadInputsAndProducts"
    actions   = ["s3:GetObject"]
    resources = [local.inputs_objects, local.products_objects]
  }

  statement {
    sid       = "CreateProducts"
    actions   = ["s3:PutObject"]
    resources = [local.products_objects]
  }

  # Objects are created by If-None-Match, and JSON is replaced by If-Match: a request with neither would write over what
  # another worker has published. Parts of an upload carry no condition; joining them does.
  statement {
    sid       = "NeverOverwrite"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = [local.products_objects]

    condition {
      test     = "Null"
      variable = "s3:if-none-match"
      values   = ["true"]
    }

    condition {
      test     = "Null"
      variable = "s3:if-match"
      values   = ["true"]
    }

    condition {
      test     = "Bool"
      variable = "s3:ObjectCreationOperation"
      values   = ["true"]
    }
  }

  # Without it S3 says "denied" of what is not there; links and extents are derived from a list.
  statement {
    sid       = "ListInputs"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.this["inputs"].arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${var.inputs_prefix}/*"]
    }
  }

  statement {
    sid       = "ListProducts"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.this["products"].arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${var.products_prefix}/*"]
    }
  }
}

data "aws_iam_policy_document" "trust_tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition { # no other account's tasks
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "worker" {
  name               = "${var.name}-worker"
  description        = "What runs in a slice."
  assume_role_policy = data.aws_iam_policy_document.trust_tasks.json
}

resource "aws_iam_role_policy" "worker" {
  name   = "worker"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.worker.json
}

# What starts a container: pulls its image and opens its log.
data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "LogInToEcr"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"] # it knows no resources
  }

  statement {
    sid       = "PullImage"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [aws_ecr_repository.this.arn]
  }

  statement {
    sid       = "WriteLog"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:log-stream:*"]
  }
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution"
  description        = "Starts containers."
  assume_role_policy = data.aws_iam_policy_document.trust_tasks.json
}

resource "aws_iam_role_policy" "execution" {
  name   = "execution"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

# An instance only joins its cluster; containers do not reach its credentials (see the launch template).
data "aws_iam_policy_document" "trust_ec2" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "instance" {
  name               = "${var.name}-instance"
  description        = "Joins instances to the cluster of AWS Batch."
  assume_role_policy = data.aws_iam_policy_document.trust_ec2.json
}

resource "aws_iam_role_policy_attachment" "instance" {
  role       = aws_iam_role.instance.name
  policy_arn = "${local.arn}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-instance"
  role = aws_iam_role.instance.name
}

data "aws_iam_policy_document" "trust_batch" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["batch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "batch" {
  name               = "${var.name}-batch"
  description        = "Starts and ends instances for AWS Batch."
  assume_role_policy = data.aws_iam_policy_document.trust_batch.json
}

resource "aws_iam_role_policy_attachment" "batch" {
  role       = aws_iam_role.batch.name
  policy_arn = "${local.arn}:iam::aws:policy/service-role/AWSBatchServiceRole"
}

# A person: fills the inputs, submits and ends jobs, repairs and removes products, reads logs.
data "aws_iam_policy_document" "operator" {
  statement {
    sid       = "KeepInputsAndProducts"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = [local.inputs_objects, local.products_objects]
  }

  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [for bucket in aws_s3_bucket.this : bucket.arn]
  }

  statement {
    sid     = "Submit"
    actions = ["batch:SubmitJob"]
    resources = [
      aws_batch_job_queue.this.arn,
      "${local.arn}:batch:${var.region}:${local.account}:job-definition/${var.name}:*",
    ]
  }

  statement {
    sid       = "End"
    actions   = ["batch:CancelJob", "batch:TerminateJob"]
    resources = ["${local.arn}:batch:${var.region}:${local.account}:job/*"]
  }

  statement {
    sid       = "Tag"
    actions   = ["batch:TagResource"]
    resources = ["${local.arn}:batch:${var.region}:${local.account}:job/*"]
  }

  statement {
    sid       = "Watch"
    actions   = ["batch:DescribeJobs", "batch:DescribeJobQueues", "batch:ListJobs"]
    resources = ["*"] # they know no resources
  }

  statement {
    sid       = "ReadLogs"
    actions   = ["logs:FilterLogEvents", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:StartLiveTail"]
    resources = [aws_cloudwatch_log_group.this.arn, "${aws_cloudwatch_log_group.this.arn}:*"]
  }
}

data "aws_iam_policy_document" "trust_operators" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = length(var.operators) > 0 ? var.operators : ["${local.arn}:iam::${local.account}:root"]
    }
  }
}

resource "aws_iam_role" "operator" {
  name               = "${var.name}-operator"
  description        = "Submits, repairs, removes."
  assume_role_policy = data.aws_iam_policy_document.trust_operators.json
}

resource "aws_iam_role_policy" "operator" {
  name   = "operator"
  role   = aws_iam_role.operator.id
  policy = data.aws_iam_policy_document.operator.json
}
