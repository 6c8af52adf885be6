"""Pages: HTML, styles and scripts of the report and of the dashboard."""
