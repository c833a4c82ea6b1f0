"""Studies: many trainings, their records, and the tables that are made of these."""
