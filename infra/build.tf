# Who builds what the repository gets: pull requests are planned, `main` is applied (cloudbuild.yaml).
#
# Neither account itself may say who may do what, make accounts, change buckets or read a secret: a plan that does so is
# applied by a person. None of these roles holds a setIamPolicy; compared on 2026-11-21 with the roles of August in
# github.com/iann0036/iam-dataset, gcp/roles.
#
# But who deploys a function decides what it runs, and so acts as its account: whoever can push to `main` can read and
# write whatever the functions can, their secrets too. Protect that branch.

locals {
  state_bucket = "${var.project_id}-terraform" # made by hand, before there is a state

  repositories = toset(var.repository == null ? [] : [var.repository])

  builders = {
    deploy = google_service_account.deploy.email
    plan   = google_service_account.plan.email
  }

  # What a plan reads of each kind of resource here, and nothing that is in one: no object, document, message or secret.
  # The predefined viewers show more: that of Firestore, every document.
  planning = [
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.getIamPolicy",
    "cloudbuild.builds.get", # a trigger's, too
    "cloudfunctions.functions.get",
    "cloudscheduler.jobs.fullView",
    "cloudscheduler.jobs.get",
    "datastore.databases.getMetadata",
    "datastore.schemas.get", # indexes: firebase.google.com/docs/firestore/security/iam
    "datastore.schemas.list",
    "iam.roles.get",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getIamPolicy",
    "monitoring.alertPolicies.get",
    "monitoring.dashboards.get",
    "monitoring.metricDescriptors.get",
    "monitoring.notificationChannels.get",
    "monitoring.services.get",
    "monitoring.slos.get",
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.topics.get",
    "pubsub.topics.getIamPolicy",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "run.services.getIamPolicy",
    "secretmanager.secrets.get",
    "secretmanager.secrets.getIamPolicy",
    "serviceusage.services.get",
    "serviceusage.services.list",
    "storage.buckets.get",
    "storage.buckets.getIamPolicy",
  ]

  # What an apply of code and configuration changes. The predefined roles hold more: roles/cloudfunctions.developer may
  # call every function and be root in every instance (run.services.sshRoot), roles/pubsub.editor read and publish every
  # event, roles/monitoring.editor switch APIs on. A role of one's own and `actAs` deploy a function, says
  # cloud.google.com/functions/docs/reference/iam/roles, but not which permissions that takes: these are the predefined
  # role's on functions, without calling them and copying their source, and the look at a function's service.
  deploying = [
    "cloudfunctions.functions.create",
    "cloudfunctions.functions.delete",
    "cloudfunctions.functions.get",
    "cloudfunctions.functions.list",
    "cloudfunctions.functions.update",
    "cloudfunctions.locations.list",
    "cloudfunctions.operations.get",
    "cloudfunctions.operations.list",
    "monitoring.alertPolicies.create",
    "monitoring.alertPolicies.delete",
    "monitoring.alertPolicies.update",
    "monitoring.dashboards.create",
    "monitoring.dashboards.delete",
    "monitoring.dashboards.update",
    "monitoring.metricDescriptors.create",
    "monitoring.metricDescriptors.delete",
    "monitoring.notificationChannels.create",
    "monitoring.notificationChannels.delete",
    "monitoring.notificationChannels.update",
    "monitoring.services.create",
    "monitoring.services.delete",
    "monitoring.services.update",
    "monitoring.slos.create",
    "monitoring.slos.delete",
    "monitoring.slos.update",
    "pubsub.subscriptions.create",
    "pubsub.subscriptions.delete",
    "pubsub.subscriptions.update",
    "pubsub.topics.attachSubscription",
    "pubsub.topics.create",
    "pubsub.topics.delete",
    "pubsub.topics.detachSubscription",
    "pubsub.topics.update",
    "run.services.get",
  ]

  # These two hold nothing else that matters.
  deploying_besides = toset([
    "roles/cloudscheduler.admin",
    "roles/datastore.indexAdmin",
  ])

  # A function is deployed by who may act as its account and its build's, a push subscription as the pushes' account.
  acted_as = merge(
    { for name in keys(local.functions) : name => google_service_account.function[name].name },
    { build = google_service_account.build.name, push = google_service_account.push.name },
  )

  # Of the state and of the archives. A plan of a pull request runs its code: it takes no lock and changes nothing.
  object_access = {
    deploy = "roles/storage.objectUser"
    plan   = "roles/storage.objectViewer"
  }
}

resource "google_service_account" "deploy" {
  account_id   = "atelier-deploy"
  display_name = "Applies main"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "plan" {
  account_id   = "atelier-plan"
  display_name = "Plans pull requests"
  depends_on   = [google_project_service.this]
}

# ---------------------------------------------------------------- what both may do

resource "google_project_iam_custom_role" "plan" {
  role_id     = "atelierPlan"
  title       = "Atelier: plan"
  description = "Reads how things are set up, not what is in them"
  permissions = concat(local.planning, [for account in local.billing_accounts : "billing.resourcebudgets.read"])
  depends_on  = [google_project_service.this]
}

resource "google_project_iam_member" "planning" {
  for_each = local.builders
  project  = var.project_id
  role     = google_project_iam_custom_role.plan.id
  member   = "serviceAccount:${each.value}"
}

# Cloud Build writes a build's log by its account.
# cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts
resource "google_project_iam_member" "builder_logs" {
  for_each = local.builders
  project  = var.project_id
  role     = "roles/logging.logWriter"
  member   = "serviceAccount:${each.value}"
}

resource "google_storage_bucket_iam_member" "state" {
  for_each = local.object_access
  bucket   = local.state_bucket
  role     = each.value
  member   = "serviceAccount:${local.builders[each.key]}"
}

# A plan asks whether the archive that runs is still there.
resource "google_storage_bucket_iam_member" "archive" {
  for_each = local.object_access
  bucket   = google_storage_bucket.source.name
  role     = each.value
  member   = "serviceAccount:${local.builders[each.key]}"
}

# ---------------------------------------------------------------- what applying takes

resource "google_project_iam_custom_role" "deploy" {
  role_id     = "atelierDeploy"
  title       = "Atelier: deploy"
  description = "Sets up functions, topics, subscriptions and monitoring without calling, publishing or reading by itself"
  permissions = local.deploying
  depends_on  = [google_project_service.this]
}

resource "google_project_iam_member" "deploy" {
  project = var.project_id
  role    = google_project_iam_custom_role.deploy.id
  member  = "serviceAccount:${google_service_account.deploy.email}"
}

resource "google_project_iam_member" "deploying" {
  for_each = local.deploying_besides
  project  = var.project_id
  role     = each.value
  member   = "serviceAccount:${google_service_account.deploy.email}"
}

resource "google_service_account_iam_member" "acted_as" {
  for_each           = local.acted_as
  service_account_id = each.value
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${google_service_account.deploy.email}"
}

# The smoke test publishes one request and reads its job.
resource "google_pubsub_topic_iam_member" "smoke" {
  topic  = google_pubsub_topic.this[local.functions["validate"].trigger.topic].id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${google_service_account.deploy.email}"
}

resource "google_project_iam_member" "smoke" {
  project = var.project_id
  role    = "roles/datastore.viewer"
  member  = "serviceAccount:${google_service_account.deploy.email}"

  condition {
    title      = "the database ${var.database}"
    expression = "resource.name == \"projects/${var.project_id}/databases/${google_firestore_database.this.name}\""
  }
}

# ---------------------------------------------------------------- what starts them

resource "google_cloudbuild_trigger" "deploy" {
  for_each        = local.repositories
  name            = "atelier-deploy"
  description     = "Applies main"
  location        = split("/", each.value)[3]
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.deploy.id
  substitutions   = { _APPLY = "true" }

  repository_event_config {
    repository = each.value
    push {
      branch = "^main$"
    }
  }
}

# The account is the trigger's, whatever a pull request writes into its cloudbuild.yaml:
# github.com/hashicorp/terraform-provider-google/issues/10053
resource "google_cloudbuild_trigger" "plan" {
  for_each        = local.repositories
  name            = "atelier-plan"
  description     = "Plans pull requests; one from outside waits until a collaborator has commented /gcbrun"
  location        = split("/", each.value)[3]
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.plan.id
  substitutions   = { _APPLY = "false" }

  repository_event_config {
    repository = each.value
    pull_request {
      branch          = "^main$"
      comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
    }
  }
}
