"""From a study report and what is known of the patient to a planning document; never a decision."""
