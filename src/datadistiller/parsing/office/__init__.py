"""Office, OpenDocument, RTF and XPS files."""
