"""The networks of the zoo, without their weights."""
