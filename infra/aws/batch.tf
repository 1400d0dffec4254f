# Spot instances that come with the first job and go after the last.

resource "aws_launch_template" "this" {
  name = var.name

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # containers do not reach the instance's credentials
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = 60
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }
}

resource "aws_batch_compute_environment" "this" {
  compute_environment_name_prefix = "${var.name}-"
  type                            = "MANAGED"
  service_role                    = aws_iam_role.batch.arn
  depends_on                      = [aws_iam_role_policy_attachment.batch] # else instances are left behind on destroy

  compute_resources {
    type                = "SPOT"
    allocation_strategy = "SPOT_PRICE_CAPACITY_OPTIMIZED"
    bid_percentage      = var.spot_percentage
    instance_type       = var.instance_types
    min_vcpus           = 0
    max_vcpus           = var.max_vcpus
    instance_role       = aws_iam_instance_profile.this.arn
    subnets             = aws_subnet.this[*].id
    security_group_ids  = [aws_security_group.this.id]
    tags                = { project = var.name } # of the instances: the budget counts by it

    launch_template {
      launch_template_id = aws_launch_template.this.id
      version            = aws_launch_template.this.latest_version
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_batch_job_queue" "this" {
  name     = var.name
  state    = "ENABLED"
  priority = 1

  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.this.arn
  }
}

resource "aws_batch_job_definition" "this" {
  name                  = var.name
  type                  = "container"
  platform_capabilities = ["EC2"]
  propagate_tags        = true

  container_properties = jsonencode({
    image                  = "${aws_ecr_repository.this.repository_url}:${var.image_tag}"
    command                = ["stac-sm", "run", "--help"] # `stac-sm submit` gives the plan, and what it takes
    jobRoleArn             = aws_iam_role.worker.arn
    executionRoleArn       = aws_iam_role.execution.arn
    user                   = "10001"
    privileged             = false
    readonlyRootFilesystem = true
    resourceRequirements   = [{ type = "VCPU", value = "2" }, { type = "MEMORY", value = "4096" }]
    environment            = [{ name = "AWS_REGION", value = var.region }]
    volumes                = [{ name = "scratch", host = {} }]
    mountPoints            = [{ containerPath = "/tmp", readOnly = false, sourceVolume = "scratch" }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "slice"
      }
    }
  })

  # What is lost with its instance is tried again; what has failed by itself would fail again, and ends.
  retry_strategy {
    attempts = var.attempts

    evaluate_on_exit {
      action           = "RETRY"
      on_status_reason = "Host EC2*"
    }

    evaluate_on_exit {
      action    = "RETRY"
      on_reason = "CannotPullContainerError:*"
    }

    evaluate_on_exit {
      action       = "EXIT"
      on_exit_code = "*"
    }

    evaluate_on_exit {
      action    = "EXIT"
      on_reason = "*"
    }
  }

  timeout {
    attempt_duration_seconds = var.slice_timeout
  }
}
