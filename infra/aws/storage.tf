# Two buckets: what is read, and what is made. Neither is public unless public_read says so, then only collections of
# which every file may be given out. Neither is removed while anything is in it.

locals {
  prefixes = {
    inputs   = var.inputs_prefix
    products = var.products_prefix
  }
  buckets = {
    inputs   = "${var.name}-inputs-${local.account}-${var.region}"
    products = "${var.name}-products-${local.account}-${var.region}"
  }
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets
  bucket   = each.value
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = aws_s3_bucket.this
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = !var.public_read
  ignore_public_acls      = true
  restrict_public_buckets = !var.public_read
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# An operator's mistake can be undone for a while. Workers only create: they make no old versions.
resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each   = aws_s3_bucket.this
  bucket     = each.value.id
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "clean-up"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 3 # of workers that were killed while they uploaded
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}

# Assets are read by signed URLs, from web pages, too (STAC Browser draws a COG by its ranges): this opens nothing that
# is not signed.
resource "aws_s3_bucket_cors_configuration" "products" {
  bucket = aws_s3_bucket.this["products"].id

  cors_rule {
    allowed_methods = ["GET", "HEAD"]
    allowed_origins = var.browser_origins
    allowed_headers = ["Range", "If-None-Match"]
    expose_headers  = ["Accept-Ranges", "Content-Length", "Content-Range", "ETag"]
    max_age_seconds = 3600
  }
}

data "aws_iam_policy_document" "bucket" {
  for_each = aws_s3_bucket.this

  statement {
    sid       = "OnlyEncryptedOnTheWay"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value.arn, "${each.value.arn}/*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # Files by their names, and no list: what is not in public_collections cannot be read nor seen.
  dynamic "statement" {
    for_each = var.public_read ? [var.public_collections] : []

    content {
      sid       = "AnybodyReadsPublicCollections"
      effect    = "Allow"
      actions   = ["s3:GetObject"]
      resources = [for id in statement.value : "${each.value.arn}/${local.prefixes[each.key]}/${id}/*"]

      principals {
        type        = "AWS"
        identifiers = ["*"]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each   = aws_s3_bucket.this
  bucket     = each.value.id
  policy     = data.aws_iam_policy_document.bucket[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_ecr_repository" "this" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "The last ten images are kept."
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}
