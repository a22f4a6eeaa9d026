// The page on Backbone.
