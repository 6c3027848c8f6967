"""The schemas of requests and answers, for validation and for OpenAPI, by resource."""
