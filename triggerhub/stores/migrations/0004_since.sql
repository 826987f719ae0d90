-- From when a delivery's age counts, where not from its creation: the end of its delay, or its redrive.
ALTER TABLE delivery ADD COLUMN since INTEGER;
