//! What generated code uses to check the user's types, each with the message that the compiler prints when it does not hold.
