"""What customers see of their requests: questions, files, receipts, alerts, promises, bills.

Everything is exact to the ledger; nothing here is on the way of a request.
"""
