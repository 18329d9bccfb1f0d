"""What is installed, a module per concern; each gives trees (`retic.install.template`), none applies anything."""
