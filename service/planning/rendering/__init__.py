"""How a planning document is shown: a page for reading and printing, and FHIR drafts."""
