"""The reconciler itself: names no service, knows stores and providers through model's Protocols."""
