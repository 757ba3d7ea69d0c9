"""The thesis's trainings as recipes: their table, data, augmentation, training, and what an analysis suggests next."""
