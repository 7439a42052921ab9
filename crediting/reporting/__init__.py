"""What people read: credit tables, charts, forecasts and the report page."""
