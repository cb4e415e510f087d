"""E-mails, mailboxes and Outlook messages."""
