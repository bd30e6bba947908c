variable "project_id" {
  description = "The project everything is created in."
  type        = string
}

variable "region" {
  description = "The region of topics, database and functions; one for all, so that no event leaves it."
  type        = string
  default     = "europe-west1"
}

variable "database" {
  description = "The Firestore database, as ATELIER_STATE_URL names it: firestore://PROJECT/DATABASE."
  type        = string
  default     = "atelier"
}

variable "push_endpoints" {
  description = "Where each function's events are pushed to: function name => the HTTPS URL it is served at, without a path. A function without one keeps its events, as a pull subscription does."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.push_endpoints), keys(local.event_functions))) == 0
    error_message = "push_endpoints names a function that functions.json gives no topic."
  }
  validation {
    condition     = alltrue([for url in values(var.push_endpoints) : startswith(url, "https://")])
    error_message = "Pub/Sub sends its identity token over HTTPS only."
  }
}
