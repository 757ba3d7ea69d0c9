"""The thesis's trainings as recipes: catalogue, augmentation, training, and windows suggested by an analysis."""
