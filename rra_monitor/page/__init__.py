"""The page that draws runs: one payload and one front end, in a report file or in TensorBoard's tab."""
