-- What a change changed: its properties before and after, as JSON. Changes made by earlier versions have none.

ALTER TABLE changes ADD COLUMN detail TEXT;
