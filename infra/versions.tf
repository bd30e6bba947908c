terraform {
  required_version = ">= 1.9" # a variable's validation refers to the wiring table

  required_providers {
    google = { source = "hashicorp/google", version = ">= 7.40, < 9.0" }
  }

  # The bucket is named at `terraform init`, because a backend takes no variables; it is made by hand before.
  backend "gcs" {}
}

provider "google" {
  project        = var.project_id
  region         = var.region
  default_labels = { app = "atelier" }
}
