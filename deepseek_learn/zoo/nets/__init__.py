"""The networks in the zoo, without their weights."""
