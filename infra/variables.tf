locals {
  decimal_form = "^[0-9]+(\\.[0-9]{1,6})?$"
  member_form  = "^(user|group|serviceAccount|domain|principal|principalSet):.+$"
}

variable "alert_emails" {
  description = "Who is told of alerts and of the monthly budget. Nobody: incidents are only in the console."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "alert_emails are addresses such as oncall@example.com."
  }
}

variable "alert_thresholds" {
  description = "Thresholds in place of those of monitoring.json, by the alert's name: { latency_video = 900 }."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.alert_thresholds), keys(local.monitoring.alerts))) == 0
    error_message = "alert_thresholds names what is no alert of monitoring.json: ${join(", ", setsubtract(keys(var.alert_thresholds), keys(local.monitoring.alerts)))}."
  }
}

variable "archive" {
  description = "An earlier archive's name, `archives/….zip` as in the output `archive`, to roll back to. Null: this checkout's is uploaded and run."
  type        = string
  default     = null

  validation {
    condition     = var.archive != null || fileexists(local.archive_file)
    error_message = "There is no .build/atelier.zip: `make archive` makes it."
  }
  validation {
    condition     = var.archive == null || can(regex("^archives/[0-9a-f]{64}\\.zip$", var.archive))
    error_message = "archive is the name of an object such as archives/0123….zip, with the 64 digits of its hash."
  }
}

variable "billing_account" {
  description = "The billing account that a monthly budget is made in, such as 012345-6789AB-CDEF01. Null: none is made. Whoever applies needs roles/billing.costsManager on it and, with their own credentials, GOOGLE_BILLING_PROJECT and USER_PROJECT_OVERRIDE=true."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account has three groups of six digits or letters A to F: 012345-6789AB-CDEF01."
  }
}

variable "daily_budget_usd" {
  description = "Cap on everything per UTC day, in USD. Nothing is bought beyond it."
  type        = string
  default     = "1000"

  validation {
    condition     = can(regex(local.decimal_form, var.daily_budget_usd))
    error_message = "daily_budget_usd is a plain decimal such as \"250\" or \"12.50\"."
  }
}

variable "database" {
  description = "The Firestore database, as ATELIER_STATE_URL names it: firestore://PROJECT/DATABASE."
  type        = string
  default     = "atelier"

  validation {
    condition     = can(regex("^(\\(default\\)|[a-z][a-z0-9-]{2,61}[a-z0-9])$", var.database))
    error_message = "database has 4 to 63 small letters, digits and hyphens, the first a letter, the last no hyphen; or it is (default)."
  }
}

variable "inbox_days" {
  description = "How long a file stays in the inbox."
  type        = number
  default     = 30

  validation {
    condition     = var.inbox_days >= 8
    error_message = "An event waits for up to seven days: a file has to stay for longer, 8 days or more."
  }
}

variable "input_buckets" {
  description = "Buckets of this project from which requests may take inputs (`reference_images`, `image`, `inputs`), by their names: `generate` may read them. On a bucket of another project, whoever owns it grants roles/storage.objectViewer to `generate`'s account, atelier-generate@PROJECT.iam.gserviceaccount.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.input_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", name))])
    error_message = "input_buckets are plain names such as my-pictures: no gs:// and no folder."
  }
}

variable "monthly_budget" {
  description = "What the project may cost per month before Google tells, in the billing account's currency: vendors that bill by themselves are not in it."
  type        = number
  default     = 1000

  validation {
    condition     = var.monthly_budget > 0 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget is a whole amount above 0."
  }
}

variable "operators" {
  description = "Who may open the ops page and its JSON: user:, group: or serviceAccount: members."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex(local.member_form, member))])
    error_message = "operators are members such as user:ann@example.com or group:team@example.com; nobody is let in unnamed."
  }
}

variable "outputs_days" {
  description = "How long a piece is kept."
  type        = number
  default     = 365

  validation {
    condition     = var.outputs_days * 86400 > try(tonumber(lookup(var.settings, "CACHE_S", "604800")), 604800)
    error_message = "A piece is given again for CACHE_S seconds (7 days unless settings say otherwise) and has to be kept for longer."
  }
}

variable "project_id" {
  description = "The project everything is created in. One project holds one Atelier."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is the project's id, neither its name nor its number: 6 to 30 small letters, digits and hyphens."
  }
}

variable "publishers" {
  description = "Who may publish requests and put files into the inbox: user:, group: or serviceAccount: members."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.publishers : can(regex(local.member_form, member))])
    error_message = "publishers are members such as serviceAccount:shop@my-project.iam.gserviceaccount.com; nobody spends money unnamed."
  }
}

variable "readers" {
  description = "Who may read the pieces in the bucket of outputs: user:, group: or serviceAccount: members."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex(local.member_form, member))])
    error_message = "readers are members such as group:editors@example.com; the bucket stays closed to everybody else."
  }
}

variable "region" {
  description = "The region of functions, topics, database and buckets; one for all, so that no event leaves it. Vertex AI is called where the catalogue says the model is (shared/catalogue.toml): Gemini's texts and pictures in `global`, Veo in `us-central1`."
  type        = string
  default     = "europe-west1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a single region such as europe-west1, neither a zone nor a multi-region."
  }
}

variable "repository" {
  description = "The repository that Cloud Build ships from, as it is connected there: projects/…/locations/…/connections/…/repositories/…. Null: nothing is built by itself."
  type        = string
  default     = null

  validation {
    condition     = var.repository == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.repository))
    error_message = "repository is the id of a connected repository: projects/PROJECT/locations/REGION/connections/NAME/repositories/NAME."
  }
}

variable "runbook_url" {
  description = "The address of README's section Monitoring, for the link in every alert. Null: it is named without a link."
  type        = string
  default     = null

  validation {
    condition     = var.runbook_url == null || can(regex("^https://\\S+$", var.runbook_url))
    error_message = "runbook_url is an HTTPS address."
  }
}

variable "scaling" {
  description = "Per function, in place of the wiring table's figures: instances that are kept, instances at most, requests at once per instance. Terraform ignores an attribute of any other name without a word."
  type = map(object({
    min_instances = optional(number)
    max_instances = optional(number)
    concurrency   = optional(number)
  }))
  default = {}

  validation {
    condition     = length(setsubtract(keys(var.scaling), keys(local.functions))) == 0
    error_message = "scaling names a function that functions.json does not have: ${join(", ", setsubtract(keys(var.scaling), keys(local.functions)))}."
  }
  validation {
    condition     = alltrue([for row in values(var.scaling) : coalesce(row.min_instances, 0) >= 0 && coalesce(row.max_instances, 1) >= 1 && coalesce(row.concurrency, 1) >= 1 && coalesce(row.concurrency, 1) <= 1000])
    error_message = "scaling: min_instances from 0, max_instances from 1, concurrency from 1 to 1000."
  }
  validation {
    condition     = alltrue([for name, row in var.scaling : coalesce(row.min_instances, 0) <= coalesce(row.max_instances, try(local.functions[name].max_instances, 1000))])
    error_message = "scaling: a function would keep more instances than it may have."
  }
}

variable "schedules" {
  description = "Requests by the clock: name => cron line, request as JSON, time zone. Every occurrence is a job of its own; one that is to make a new piece each time says \"cache\": \"off\"."
  type = map(object({
    cron      = string
    request   = string
    time_zone = optional(string, "Etc/UTC")
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.schedules) : can(regex("^[a-z0-9][a-z0-9-]*$", name))])
    error_message = "A schedule's name has small letters, digits and hyphens."
  }
  validation {
    condition     = alltrue([for row in values(var.schedules) : can(regex("^\\S+( \\S+){4}$", row.cron))])
    error_message = "cron has five fields, as in \"0 6 * * *\"."
  }
  validation {
    condition     = alltrue([for row in values(var.schedules) : can(jsondecode(row.request).kind) && can(jsondecode(row.request).prompt)])
    error_message = "request is one JSON object with kind and prompt."
  }
  validation {
    condition     = alltrue([for row in values(var.schedules) : !can(jsondecode(row.request).request_id)])
    error_message = "request has a request_id: all occurrences would be the same job, made once."
  }
}

variable "secret_versions" {
  description = "The version of each secret that functions get, by the setting's name without ATELIER_: { RUNWAY_API_SECRET = 1 }. A secret without one is not given to any."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.secret_versions), local.secrets)) == 0
    error_message = "secret_versions names what no function asks for in functions.json: ${join(", ", setsubtract(keys(var.secret_versions), local.secrets))}."
  }
  validation {
    condition     = alltrue([for version in values(var.secret_versions) : version >= 1 && floor(version) == version])
    error_message = "A secret's version is its number, 1 or higher."
  }
}

variable "settings" {
  description = "Further settings of every function, by their names without ATELIER_: { MAX_ATTEMPTS = \"3\" }. `python -m functions settings` lists them."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.settings), keys(local.known_settings))) == 0
    error_message = "settings names what is not a setting: ${join(", ", setsubtract(keys(var.settings), keys(local.known_settings)))}."
  }
  validation {
    condition     = length(setintersection(keys(var.settings), local.reserved_settings)) == 0
    error_message = "settings names what is set by a variable of its own, or is a secret: ${join(", ", setintersection(keys(var.settings), local.reserved_settings))}."
  }
  validation {
    condition     = alltrue([for name, text in var.settings : can(regex(lookup(local.known_settings, name, ""), text))])
    error_message = "settings has a value that no function could read, where the code declares a number, or true or false."
  }
}

variable "tenant_daily_budget_usd" {
  description = "Cap per tenant and UTC day, in USD."
  type        = string
  default     = "500"

  validation {
    condition     = can(regex(local.decimal_form, var.tenant_daily_budget_usd))
    error_message = "tenant_daily_budget_usd is a plain decimal such as \"250\" or \"12.50\"."
  }
}

variable "user_daily_budget_usd" {
  description = "Cap per user and UTC day, in USD."
  type        = string
  default     = "100"

  validation {
    condition     = can(regex(local.decimal_form, var.user_daily_budget_usd))
    error_message = "user_daily_budget_usd is a plain decimal such as \"250\" or \"12.50\"."
  }
}

variable "vendors" {
  description = "Vendors that may be called: vertex, runway, replicate, huggingface. All but vertex need their secret's version."
  type        = set(string)
  default     = ["vertex"]

  validation {
    condition     = length(var.vendors) > 0 && length(setsubtract(var.vendors, concat(["vertex"], keys(local.vendor_secrets)))) == 0
    error_message = "vendors are some of vertex, runway, replicate, huggingface."
  }
  validation {
    condition     = var.repository == null || length(setintersection(var.vendors, ["huggingface", "replicate", "vertex"])) > 0
    error_message = "With `repository`, every deployment asks for a sentence as its smoke test: one of the vendors has to have models for texts, as vertex, replicate and huggingface have."
  }
  validation {
    condition     = alltrue([for vendor, secret in local.vendor_secrets : contains(keys(var.secret_versions), secret) if contains(var.vendors, vendor)])
    error_message = "A vendor is switched on without its secret: secret_versions has to name ${join(", ", [for vendor, secret in local.vendor_secrets : secret if contains(var.vendors, vendor)])}."
  }
}

variable "vertex_role" {
  description = "The role by which `generate` asks Google's models. Null: one that can do nothing else is made. \"roles/aiplatform.user\", which can do far more, where Google refuses that one or answers a call with 403."
  type        = string
  default     = null

  validation {
    condition     = var.vertex_role == null || can(regex("^(roles/aiplatform\\.[a-zA-Z]+|(projects|organizations)/[^/]+/roles/[a-zA-Z0-9_.]+)$", var.vertex_role))
    error_message = "vertex_role is a role of Vertex AI such as roles/aiplatform.user, or one of your own: projects/PROJECT/roles/NAME."
  }
}

variable "webhook_public" {
  description = "Whether anybody may call on_webhook, as Replicate has to; it verifies every call's signature. An organisation may forbid it (iam.allowedPolicyMemberDomains)."
  type        = bool
  default     = false

  validation {
    condition     = !var.webhook_public || contains(keys(var.secret_versions), "REPLICATE_WEBHOOK_SECRETS")
    error_message = "Webhooks are verified by their signature: secret_versions has to name REPLICATE_WEBHOOK_SECRETS."
  }
}
