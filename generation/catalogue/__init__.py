"""The models as data: `models.json`, read and checked in `reading`, put into rows in `loading`."""
