variable "name" {
  description = "What everything here is called, and what bucket names begin with."
  type        = string
  default     = "stac-sm"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,20}$", var.name))
    error_message = "name: 3 to 21 of a-z, 0-9 and -, the first a letter."
  }
}

variable "region" {
  description = "AWS region, best that of the inputs: then reading them costs no transfer."
  type        = string
  default     = "us-west-2"
}

variable "inputs_prefix" {
  description = "Below it in the inputs bucket lie the catalogue of inputs and its COGs."
  type        = string
  default     = "inputs"
}

variable "products_prefix" {
  description = "Below it in the products bucket lies the project, and all that workers may create."
  type        = string
  default     = "sm"
}

variable "public_read" {
  description = "Whether anybody may read the collections of public_collections straight from the buckets, without a signed URL."
  type        = bool
  default     = false
}

# Only those of which every file may be given out, as stac_sm/stac/visibility.py finds in their documents
# (tests/tools/test_infra.py). Models and validations are not here: `stac-sm serve` gives them out without station series and without links
# to what is restricted, which a bucket cannot leave out.
variable "public_collections" {
  description = "Ids of collections that anybody may read if public_read is true: prefixes below those of the two buckets."
  type        = list(string)
  default = [
    "c3s-sm",
    "c3s-sm-passive",
    "climatology",
    "cop-dem",
    "era5-land",
    "mcd43a3-006",
    "mcd43a3-061",
    "modis-11A1-006",
    "modis-11A1-061",
    "modis-15A2H-006",
    "modis-15A2H-061",
    "modis-15A3H-006",
    "modis-15A3H-061",
    "sm-1km-annual",
    "sm-1km-daily",
    "sm-1km-daily-global",
    "sm-1km-monthly",
    "smap",
    "smap-s1",
    "soilgrids",
  ]

  validation {
    condition     = alltrue([for id in var.public_collections : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*$", id))])
    error_message = "public_collections: ids of collections, without slashes and wildcards."
  }
}

variable "browser_origins" {
  description = "Web pages that may read signed URLs of products, such as https://sm.example.org; * is every page."
  type        = list(string)
  default     = ["*"]
}

variable "image_tag" {
  description = "Tag of the image in ECR that workers run; tags are immutable there."
  type        = string
  default     = "0.1.0"

  validation {
    condition     = var.image_tag != "latest" && can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag))
    error_message = "image_tag: the tag of a version, such as 0.1.0; latest may be another image tomorrow."
  }
}

variable "instance_types" {
  description = "Instance families or types; many of them, so that spot capacity is found."
  type        = list(string)
  default     = ["m7i", "m7a", "m6i", "m6a", "m5", "r7i", "r6i", "r5"]
}

variable "max_vcpus" {
  description = "vCPUs at the same time: the limit of what an hour can cost."
  type        = number
  default     = 256
}

variable "spot_percentage" {
  description = "Most that is bid for spot capacity, in percent of the on-demand price."
  type        = number
  default     = 60
}

variable "attempts" {
  description = "Times that a slice is started at most when its instance is taken away."
  type        = number
  default     = 5
}

variable "slice_timeout" {
  description = "Seconds after which an attempt of a slice is ended."
  type        = number
  default     = 21600
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}

variable "monthly_budget" {
  description = "US dollars a month; mail goes out at 80 % spent and at 100 % forecast."
  type        = number
  default     = 200
}

variable "budget_mail" {
  description = "Who gets mail when the budget runs out; nobody if empty."
  type        = list(string)
  default     = []
}

variable "operators" {
  description = "ARNs that may take the operator's role: it submits, repairs and removes. Empty: this account's administrators."
  type        = list(string)
  default     = []
}
