"""The widgets that the screens of the console are made of."""
