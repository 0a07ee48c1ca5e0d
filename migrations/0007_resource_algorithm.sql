-- The algorithm that signs the tokens of a resource, by its registered name.
ALTER TABLE resources ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'RS256';
