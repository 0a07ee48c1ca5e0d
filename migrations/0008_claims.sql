-- Custom claims: fixed ones of clients and resources, and attributes of users, as JSON objects; and the claims that a resource asks for,
-- names with spaces between them. NULL means none.

ALTER TABLE clients ADD COLUMN fixed_claims TEXT;
ALTER TABLE resources ADD COLUMN fixed_claims TEXT;
ALTER TABLE resources ADD COLUMN claims TEXT;
ALTER TABLE users ADD COLUMN attributes TEXT;
