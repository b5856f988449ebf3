"""What customers say of the service in public: watched, read for its mood, and shown beside what we told them."""
