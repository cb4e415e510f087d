"""HTML, XML, Markdown, e-books and help files."""
