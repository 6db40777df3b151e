"""`batuta def lint`: what is wrong with definitions, and what they hardly mean."""
