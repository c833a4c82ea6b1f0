"""The networks of the paper's Appendix D. Nothing is trained here."""
