-- At which level of isolation an attempt ran; nobody knows it of those before.
ALTER TABLE attempt ADD COLUMN level TEXT;
