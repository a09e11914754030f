"""From a folder of documents to a tuned model, its measured gain, an index and a report, as one resumable run."""
