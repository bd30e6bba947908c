terraform {
  required_version = ">= 1.9" # a variable's validation refers to the wiring table

  required_providers {
    google = { source = "hashicorp/google", version = ">= 7.40, < 9.0" }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
}
