"""The best k of many: shortlist, certified rerank, results."""
