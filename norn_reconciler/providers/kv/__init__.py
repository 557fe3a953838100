"""One ACL user an app on Valkey, held to its own key prefix. Importing this imports no driver."""
